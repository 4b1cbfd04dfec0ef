local typedefs = require "kong.db.schema.typedefs"

return {
  name = "llm-edge",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { direct = {
          type = "boolean",
          default = true,
          description = "Ask the plugin server in one message, where Kong's own way takes three.",
        } },
        { extra_headers = {
          type = "array",
          elements = typedefs.header_name,
          description = "Request headers that rules use beyond the usual ones. Never one that carries a credential.",
        } },
        { max_body_bytes = {
          type = "integer",
          default = 1048576,
          between = { 1, 1073741824 },
          description = "Largest request body in bytes; a larger one is refused with 413.",
        } },
        { refuse_upgrade = {
          type = "boolean",
          default = true,
          description = "Refuse WebSocket upgrades: nobody can meter what follows one.",
        } },
      },
    } },
  },
}
