"""The pages that show the document, and the few lines of script that start them. Nothing in them names another host."""

# Only from here; styles may stand in the page, as both UIs write theirs there. ReDoc searches in a worker of its own.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/page.css">
{head}<title>devstral-router: API</title>
</head>
<body>
{body}
</body>
</html>
"""
STYLE = """\
:root { color-scheme: light dark; }
body { margin: 0; font-family: system-ui, sans-serif; }
main.plain { max-width: 40rem; margin: 3rem auto; padding: 0 1rem; line-height: 1.5; }
noscript { display: block; padding: 1rem; }
/* of ReDoc: what its theme has no colour for, or too pale a one */
#redoc h5, #redoc h5 span, #redoc caption { color: #5f676b; }
#redoc .tab-error:not(.react-tabs__tab--selected) { color: #ff8a80; }
@media (prefers-color-scheme: dark) {
  :root:has(#redoc) { background: #1c2022; color: #d7dde0; }
  #redoc h5, #redoc h5 span, #redoc caption { color: #a9b4b9; }
  /* the pattern behind a type: as the type */
  #redoc td > div > div:first-child > span:last-of-type:not(:first-of-type) { color: #a9b4b9; }
  /* which of several schemas is shown */
  #redoc span + div > button { color: #1c2022; }
  #redoc svg { fill: #d7dde0; }
  #redoc tr { background-color: transparent; }
  #redoc .react-tabs__tab--selected { background: #2b3134; }
}
/* of Swagger UI: its colours, where they are too pale to be read */
#swagger-ui .info .title small { background: #5a6170; }
#swagger-ui .info .title small.version-stamp { background: #4a6a00; }
#swagger-ui .microlight span[style*="rgb(211, 99, 99)"] { color: #ff8a80 !important; }
@media (prefers-color-scheme: light) {
  #swagger-ui .opblock-post .opblock-summary-method { background: #19774a; }
  #swagger-ui .opblock-get .opblock-summary-method { background: #1a68b3; }
  #swagger-ui .opblock-delete .opblock-summary-method { background: #c62828; }
  #swagger-ui .parameter__in { color: #616161; }
  #swagger-ui .info .url, #swagger-ui .info a { color: #1f66b8; }
  #swagger-ui .btn.authorize { color: #19774a; }
}
@media (prefers-color-scheme: dark) {
  #swagger-ui .header-col { color: #d7dde0; }
}
/* and long paths and wide tables, to stay within a narrow window */
.swagger-ui .opblock-summary-path { overflow-wrap: anywhere; }
.swagger-ui .info li, .swagger-ui .info p, .swagger-ui .opblock p { line-height: 1.7; }
.swagger-ui .wrapper { box-sizing: border-box; }
.swagger-ui table { overflow-wrap: anywhere; }
"""
SWAGGER = _PAGE.format(
    head='<link rel="stylesheet" href="docs/swagger-ui.css">\n',
    body="""\
<noscript>This page needs JavaScript; the document itself is <a href="openapi.json">openapi.json</a>.</noscript>
<main id="swagger-ui"></main>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/swagger.js"></script>""",
)
SWAGGER_START = """\
"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
const tint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", tint);
tint();
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
"""
REDOC = _PAGE.format(
    head="",
    body="""\
<noscript>This page needs JavaScript; the document itself is <a href="openapi.json">openapi.json</a>.</noscript>
<main id="redoc"></main>
<script src="docs/redoc.standalone.js"></script>
<script src="docs/redoc.js"></script>""",
)
# Its own fonts come from elsewhere: those of the system are taken. It works its colours out once, when it starts.
REDOC_START = """\
"use strict";
const font = "system-ui, sans-serif";
const mono = "ui-monospace, monospace";
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => location.reload());
const tints = {
  colors: {
    primary: { main: "#8ab4f8" },
    success: { main: "#6cc070" },
    warning: { main: "#ffb74d" },
    error: { main: "#ff8a80" },
    text: { primary: "#d7dde0", secondary: "#a9b4b9" },
    border: { dark: "rgba(255, 255, 255, 0.2)", light: "#2b3134" },
  },
  schema: { linesColor: "#5b7291", nestedBackground: "#23282b" },
  sidebar: { backgroundColor: "#23282b", textColor: "#d7dde0", activeTextColor: "#8ab4f8" },
  rightPanel: {
    backgroundColor: "#15191b",
    servers: { overlay: { backgroundColor: "#23282b", textColor: "#d7dde0" }, url: { backgroundColor: "#1c2022" } },
  },
  codeBlock: { backgroundColor: "#0d1011" },
  fab: { backgroundColor: "#2b3134", color: "#8ab4f8" },
};
Redoc.init("openapi.json", {
  theme: {
    ...(dark.matches ? tints : {}),
    typography: {
      fontFamily: font,
      headings: { fontFamily: font },
      code: {
        fontFamily: mono,
        ...(dark.matches ? { color: "#ff9e9b", backgroundColor: "rgba(255, 255, 255, 0.08)" } : { color: "#b3261e" }),
      },
    },
  },
}, document.getElementById("redoc"));
"""
MISSING = _PAGE.format(
    head="",
    body="""\
<main class="plain">
<h1>The pages are not installed</h1>
<p>They are the extra <code>docs</code> of the package, which is not installed here. Install it where the router runs,
from its sources with</p>
<pre>pip install '.[docs]'</pre>
<p>or by itself, with the pip of the router's environment, and load this page again:</p>
<pre>pip install 'fastapi-offline&lt;2'</pre>
<p>The document that they show is here: <a href="openapi.json">openapi.json</a>. Other viewers read it, too.</p>
</main>""",
)
