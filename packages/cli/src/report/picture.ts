import { extname } from "node:path";
import { writeFileAtomic } from "@slayer/checkpoint";
import { UserError } from "../errors.js";
import type { ReportData } from "./data.js";

/** @throws UserError for a name whose ending says no format that can be drawn; before any long work */
export function checkPicture(file: string): "html" | "svg" {
  const format = extname(file).slice(1).toLowerCase();
  if (format === "html" || format === "svg") return format;
  throw new UserError(`${file}: expected a name that ends in .html (a page) or .svg (a picture)`);
}

/** Draws into a page, or importance scores and ranks alone into a picture. The chart library takes a while to load; no other work needs it. */
export async function writePicture(file: string, data: ReportData): Promise<void> {
  if (checkPicture(file) === "html") {
    const { reportPage } = await import("./page.js");
    return writeFileAtomic(file, reportPage(data));
  }
  const { blockFigure } = await import("./figure.js");
  return writeFileAtomic(file, blockFigure(data));
}
