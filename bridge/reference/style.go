package reference

// style is the page's look: readable at any width, light or dark as the reader has it.
const style = `
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:0;display:flex;gap:2rem}
nav{flex:0 0 17rem;height:100vh;position:sticky;top:0;overflow:auto;padding:1rem;box-sizing:border-box;font-size:14px}
nav ul{list-style:none;padding-left:.75rem;margin:.25rem 0}
nav a{overflow-wrap:anywhere}
main{flex:1;min-width:0;max-width:60rem;padding:1rem}
h2{border-top:1px solid;padding-top:1rem;text-transform:capitalize}
h3{margin-top:2rem}
h4{margin:1rem 0 .25rem}
table{border-collapse:collapse;display:block;overflow-x:auto}
td{border-top:1px solid #8885;padding:.25rem .75rem .25rem 0;vertical-align:top}
code{font:.9em ui-monospace,monospace}
i{opacity:.75}
@media(max-width:50rem){body{display:block}nav{height:auto;position:static}}
`
