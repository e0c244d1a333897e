"""The OpenAPI document of what is served, made from the table of routes; and the schemas that it speaks of. Pure."""
