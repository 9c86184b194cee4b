import { DataError } from "../errors.js";

export type Format = "text" | "jsonl" | "json" | "parquet";
export type Compression = "none" | "gzip" | "zstd";

const EXTENSIONS: Readonly<Record<string, Format>> = {
  txt: "text",
  text: "text",
  md: "text",
  tex: "text",
  jsonl: "jsonl",
  ndjson: "jsonl",
  json: "json",
  parquet: "parquet",
};
const COMPRESSIONS: Readonly<Record<string, Compression>> = { gz: "gzip", zst: "zstd" };

/** How a file is read: by its extension, or as `wanted` says. @throws DataError `unsupported` */
export function formatOf(file: string, wanted: Format | "auto" = "auto"): { format: Format; compression: Compression } {
  const extensions = file.toLowerCase().split(/[\\/]/u).at(-1)!.split(".").slice(1);
  const compression = COMPRESSIONS[extensions.at(-1) ?? ""] ?? "none";
  const extension = extensions.at(compression === "none" ? -1 : -2) ?? "";
  const format = wanted === "auto" ? EXTENSIONS[extension] : wanted;
  if (format === undefined) {
    const known = Object.keys(EXTENSIONS).map((each) => `.${each}`);
    throw new DataError(
      "unsupported",
      `unknown extension ${JSON.stringify(`.${extension}`)}: expected ${known.join(", ")} (each but .parquet also with .gz or .zst), or set the format`,
      { file },
    );
  }
  if (format === "parquet" && compression !== "none") {
    throw new DataError("unsupported", "a Parquet file is compressed inside; unpack this one first", { file });
  }
  return { format, compression };
}
