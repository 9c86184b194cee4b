// Builds src/mean-bf16.wat into dist/.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import wabt from "wabt";

const at = (path) => new URL(path, import.meta.url);
const assembler = await wabt();
const module = assembler.parseWat("mean-bf16.wat", await readFile(at("src/mean-bf16.wat"), "utf8"), { simd: true });
module.validate();
await mkdir(at("dist/"), { recursive: true });
await writeFile(at("dist/mean-bf16.wasm"), module.toBinary({}).buffer);
