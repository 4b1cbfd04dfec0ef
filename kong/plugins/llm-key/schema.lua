local typedefs = require "kong.db.schema.typedefs"

return {
  name = "llm-key",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { key_name = typedefs.header_name {
          default = "apikey",
          description = "The header that key-auth reads: one of its `key_names`.",
        } },
        { key_in_query = {
          type = "boolean",
          default = true,
          description = "Take a key from `?key=`, as Gemini's REST examples send it; false refuses it with 401.",
        } },
      },
    } },
  },
}
