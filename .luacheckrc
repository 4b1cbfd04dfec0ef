std = "ngx_lua"
max_line_length = 130
read_globals = { kong = { other_fields = true, fields = { ctx = { read_only = false, other_fields = true } } } }
files["test/lua"] = { globals = { "kong", "ngx" } }
