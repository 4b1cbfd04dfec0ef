local typedefs = require "kong.db.schema.typedefs"

return {
  name = "llm-upstream",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { headers = {
          type = "map",
          default = {},
          keys = typedefs.header_name,
          values = { type = "string", len_min = 1, referenceable = true, err = "is not an acceptable secret" },
          description = "Headers that carry the provider's credential, by name; values may be vault references.",
        } },
        { name_consumer = {
          type = "boolean",
          default = false,
          description = "Tell the upstream who calls, in the headers of Kong's authentication plugins.",
        } },
      },
    } },
  },
}
