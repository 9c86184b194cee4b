import { parseYaml } from "@slayer/checkpoint";
import { RecipeError } from "./errors.js";

/** Puts `key=value` on top of a recipe, or takes a key out with `key=null`; keys with dots, the value in YAML. Throws a RecipeError. */
export function assign(target: Record<string, unknown>, assignment: string): void {
  const at = assignment.indexOf("=");
  if (at < 1) throw new RecipeError(`--set wants key=value, got '${assignment}'`);
  const path = assignment.slice(0, at).split(".");
  let object = target;
  for (const [i, key] of path.entries()) {
    checkIndex(object, key, path[i - 1], assignment);
    if (i === path.length - 1) break;
    if (!Object.hasOwn(object, key)) define(object, key, {});
    const next = object[key];
    if (typeof next !== "object" || next === null) {
      throw new RecipeError(`--set ${assignment}: '${key}' holds a value, not keys`);
    }
    object = next as Record<string, unknown>;
  }
  const value = valueOf(assignment, at);
  if (value !== null) define(object, path.at(-1)!, value);
  else if (Array.isArray(object)) object.splice(Number(path.at(-1)), 1);
  else delete object[path.at(-1)!];
}

/** In a list the key is a place that is there, or the next. */
function checkIndex(list: unknown, key: string, name: string | undefined, assignment: string): void {
  if (!Array.isArray(list) || (/^\d+$/.test(key) && Number(key) <= list.length)) return;
  throw new RecipeError(`--set ${assignment}: '${name}' is a list of ${list.length}, with places from 0; got '${key}'`);
}

/** An own property whatever the key is called, `__proto__` included. */
function define(object: object, key: string, value: unknown): void {
  Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}

function valueOf(assignment: string, at: number): unknown {
  try {
    return parseYaml(assignment.slice(at + 1));
  } catch (error) {
    throw new RecipeError(`--set ${assignment}: the value is not valid YAML: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
