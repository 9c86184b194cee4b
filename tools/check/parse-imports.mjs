import { parseSync, Visitor } from "oxc-parser";

/**
 * What a TypeScript or JavaScript source imports: static and dynamic imports, re-exports, `import("x")` types, and files
 * named by `new URL("./x", import.meta.url)`. `computed`: some dynamic import does not name its module in a plain string.
 *
 * @param {string} file name for messages; its ending chooses the language
 * @param {string} source
 * @returns {{ imports: string[], computed: boolean }}
 */
export function parseImports(file, source) {
  const { program, module, errors } = parseSync(file, source);
  if (errors.length > 0) throw new Error(`${file}: ${errors[0]?.message}`);
  const found = module.staticImports.map((i) => i.moduleRequest.value);
  for (const { entries } of module.staticExports) {
    for (const { moduleRequest } of entries) if (moduleRequest) found.push(moduleRequest.value);
  }
  let computed = false;
  new Visitor({
    ImportExpression(node) {
      if (node.source.type === "Literal") found.push(String(node.source.value));
      else computed = true;
    },
    TSImportType: (node) => void found.push(node.source.value),
    NewExpression({ callee, arguments: [path, base] }) {
      const ofThisModule = base?.type === "MemberExpression" && base.object.type === "MetaProperty";
      if (callee.type === "Identifier" && callee.name === "URL" && ofThisModule && path?.type === "Literal") {
        found.push(String(path.value));
      }
    },
  }).visit(program);
  return { imports: [...new Set(found)], computed };
}
