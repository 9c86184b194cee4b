#!/usr/bin/env node
/** What no other tool checks about this repository. Prints each problem; exits 1 if there is one. */
import { fileURLToPath } from "node:url";
import { checkDependencyReasons } from "./check/dependency-reasons.mjs";
import { checkFileLengths } from "./check/file-lengths.mjs";
import { checkImports } from "./check/imports.mjs";
import { checkReadmeTree } from "./check/readme-tree.mjs";
import { checkRegistry } from "./check/registry.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const checks = [checkImports, checkRegistry, checkReadmeTree, checkFileLengths, checkDependencyReasons];
const problems = checks.flatMap((check) => check(root));
for (const problem of problems) console.error(problem);
console.error(problems.length === 0 ? `${checks.length} checks passed` : `${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;
