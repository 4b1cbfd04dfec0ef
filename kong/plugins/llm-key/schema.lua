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
      },
    } },
  },
}
