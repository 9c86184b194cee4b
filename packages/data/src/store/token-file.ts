import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { type FileHandle, open, readFile } from "node:fs/promises";
import { bytesOf, CorpusHash } from "../packing/corpus-hash.js";
import type { TokenSource } from "../packing/token-source.js";

/** Bytes per token: 2 where ids are below 2^15, for ~id needs the sign. */
export type TokenWidth = 2 | 4;

const BUFFERED = 2 ** 20;

/** What is known of a token file besides its tokens. */
export interface TokenFileInfo {
  readonly width: TokenWidth;
  readonly documents: number;
  readonly tokens: number;
  /** TokenSource.hash. */
  readonly hash: string;
}

/** Writes NAME.tokens, little-endian integers, and NAME.offsets, float64: where each document begins. */
export class TokenWriter {
  readonly #width: TokenWidth;
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #hash: CorpusHash;
  readonly #offsets: number[] = [0];
  #buffer = new Int32Array(BUFFERED);
  #buffered = 0;

  private constructor(path: string, handle: FileHandle, width: TokenWidth, tokenizerHash: string) {
    this.#path = path;
    this.#handle = handle;
    this.#width = width;
    this.#hash = new CorpusHash(tokenizerHash);
  }

  static async create(path: string, width: TokenWidth, tokenizerHash: string): Promise<TokenWriter> {
    return new TokenWriter(path, await open(`${path}.tokens`, "w"), width, tokenizerHash);
  }

  get tokens(): number {
    return this.#offsets.at(-1)!;
  }

  /** One document. */
  async append(tokens: Int32Array): Promise<void> {
    this.#offsets.push(this.tokens + tokens.length);
    for (let at = 0; at < tokens.length;) {
      const part = tokens.subarray(at, at + BUFFERED - this.#buffered);
      this.#buffer.set(part, this.#buffered);
      this.#buffered += part.length;
      at += part.length;
      if (this.#buffered === BUFFERED) await this.#flush();
    }
  }

  async finish(): Promise<TokenFileInfo> {
    await this.#flush();
    await this.#handle.sync();
    const offsets = Float64Array.from(this.#offsets);
    const file = await open(`${this.#path}.offsets`, "w");
    try {
      await file.writeFile(bytesOf(offsets));
      await file.sync();
    } finally {
      await file.close();
    }
    const { tokens } = this;
    return { width: this.#width, documents: offsets.length - 1, tokens, hash: this.#hash.digest(offsets) };
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async #flush(): Promise<void> {
    const tokens = this.#buffer.subarray(0, this.#buffered);
    this.#hash.update(tokens);
    await this.#handle.appendFile(bytesOf(this.#width === 2 ? new Int16Array(tokens) : tokens));
    this.#buffered = 0;
  }
}

/** Tokens in a file, read by range as they are needed; where documents begin is in memory. */
export class TokenFile implements TokenSource {
  readonly offsets: Float64Array;
  readonly hash: string;
  readonly #width: TokenWidth;
  readonly #descriptor: number;

  private constructor(descriptor: number, offsets: Float64Array, { width, hash }: TokenFileInfo) {
    this.#descriptor = descriptor;
    this.offsets = offsets;
    this.#width = width;
    this.hash = hash;
  }

  /** Undefined where the files are not those that `info` tells of: cut, or not there. */
  static async open(path: string, info: TokenFileInfo): Promise<TokenFile | undefined> {
    const bytes = await readFile(`${path}.offsets`).catch(() => undefined);
    if (bytes?.length !== 8 * (info.documents + 1)) return undefined;
    const offsets = new Float64Array(new Uint8Array(bytes).buffer);
    if (offsets[0] !== 0 || offsets.at(-1) !== info.tokens || offsets.some((at, d) => at < (offsets[d - 1] ?? 0))) {
      return undefined;
    }
    let descriptor: number;
    try {
      descriptor = openSync(`${path}.tokens`, "r");
    } catch {
      return undefined;
    }
    if (fstatSync(descriptor).size === info.tokens * info.width) return new TokenFile(descriptor, offsets, info);
    closeSync(descriptor);
    return undefined;
  }

  get documents(): number {
    return this.offsets.length - 1;
  }

  read(at: number, out: Int32Array): void {
    const raw = this.#width === 2 ? new Int16Array(out.length) : out;
    const bytes = bytesOf(raw);
    for (let filled = 0; filled < bytes.length;) {
      const count = readSync(this.#descriptor, bytes, filled, bytes.length - filled, at * this.#width + filled);
      if (count === 0) throw new Error("a token file has become shorter while it was read");
      filled += count;
    }
    if (raw !== out) out.set(raw);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}
