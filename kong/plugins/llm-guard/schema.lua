local typedefs = require "kong.db.schema.typedefs"

return {
  name = "llm-guard",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { require = {
          type = "array",
          required = true,
          len_min = 1,
          elements = { type = "string", len_min = 1 },
          description = "Plugins without whose decision no request may pass.",
        } },
      },
    } },
  },
}
