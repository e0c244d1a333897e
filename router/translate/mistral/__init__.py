"""The Mistral dialect: rules R1 to R37 for requests, S1 to S24 for answers (docs/translation.md)."""
