import { DataError } from "../errors.js";
import { charToByte } from "./bytes.js";
import { type Component, leaves } from "./format.js";

/**
 * One stage of decoding, as a transducer over tokens: `push` gives the text that is now certain, `flush` the rest.
 * The concatenation of all that comes out is what Python `tokenizers` decodes from all tokens at once.
 */
interface Stage {
  push(token: string): string[];
  flush(): string[];
}

/** Decodes tokens one after another. Text comes out as soon as no later token can change it; never half a character. */
export class Detokenizer {
  readonly #stages: Stage[];

  /** @throws DataError `unsupported` for a decoder that none of the stages below describes */
  constructor(decoder: Component | null, file: string) {
    if (decoder === null) {
      throw new DataError("unsupported", "decoder is null; Llama and Mistral tokenizers have one", { file });
    }
    const components = leaves(decoder, "decoder");
    this.#stages = components.map((component, i) => {
      const isFused = components.slice(0, i).some(({ type }) => type === "Fuse");
      const stage = createStage(component, isFused);
      if (stage === undefined) {
        throw new DataError("unsupported", `decoder ${JSON.stringify(component)} is not supported here`, { file });
      }
      return stage;
    });
  }

  push(token: string): string {
    return this.#run([token], 0).join("");
  }

  flush(): string {
    return this.#stages.flatMap((stage, i) => this.#run(stage.flush(), i + 1)).join("");
  }

  #run(tokens: string[], firstStage: number): string[] {
    return this.#stages
      .slice(firstStage)
      .reduce((pieces, stage) => pieces.flatMap((piece) => stage.push(piece)), tokens);
  }
}

function createStage(component: Component, isFused: boolean): Stage | undefined {
  switch (component.type) {
    case "Replace": {
      const from = (component.pattern as { String?: unknown } | undefined)?.String;
      const to = component.content;
      if (typeof from !== "string" || typeof to !== "string") return undefined;
      return perToken((token) => token.replaceAll(from, () => to));
    }
    case "Fuse": // what follows sees one long token; our pieces of it are joined anyway
      return perToken((token) => token);
    case "Strip": {
      const { content, start, stop } = component;
      if (!isFused || typeof content !== "string" || typeof start !== "number" || stop !== 0) return undefined;
      return stripStart(content, start);
    }
    case "Metaspace":
      return metaspace(
        typeof component.replacement === "string" ? component.replacement : "▁",
        component.prepend_scheme !== "never",
      );
    case "ByteFallback":
      return byteFallback();
    case "ByteLevel":
      return byteLevel();
    default:
      return undefined;
  }
}

function perToken(decode: (token: string) => string): Stage {
  return { push: (token) => [decode(token)], flush: () => [] };
}

/** Up to `count` leading `content`, of the fused text. */
function stripStart(content: string, count: number): Stage {
  let left = count;
  return perToken((token) => {
    let text = token;
    while (left > 0 && text !== "") {
      if (text.startsWith(content)) {
        text = text.slice(content.length);
        left--;
      } else left = 0;
    }
    return text;
  });
}

/** ▁ becomes a space; in the first token it becomes nothing, where the encoder prepends one. */
function metaspace(replacement: string, prepends: boolean): Stage {
  let isFirst = prepends;
  return perToken((token) => {
    const text = token.replaceAll(replacement, isFirst ? "" : " ");
    isFirst = false;
    return text;
  });
}

/**
 * A run of byte tokens <0x41> is one UTF-8 string; if the run is no valid UTF-8, each of its bytes becomes U+FFFD. So a
 * run is certain only at its end.
 */
function byteFallback(): Stage {
  let run: number[] = [];
  const endRun = (): string[] => {
    if (run.length === 0) return [];
    const bytes = Uint8Array.from(run);
    run = [];
    try {
      return [new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)];
    } catch {
      return ["\uFFFD".repeat(bytes.length)];
    }
  };
  return {
    push(token) {
      const hex = /^<0x([0-9A-Fa-f]{2}|\+[0-9A-Fa-f])>$/.exec(token)?.[1];
      if (hex === undefined) return [...endRun(), token];
      run.push(Number.parseInt(hex, 16));
      return [];
    },
    flush: endRun,
  };
}

/** Byte characters back to bytes, then to text; invalid UTF-8 becomes U+FFFD, one for each maximal part of a character. */
function byteLevel(): Stage {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const encoder = new TextEncoder();
  return {
    push(token) {
      const bytes = Array.from(token, (char) => charToByte.get(char));
      // An added token may hold other characters; then it stands for itself.
      const isMapped = bytes.every((byte) => byte !== undefined);
      return [decoder.decode(isMapped ? Uint8Array.from(bytes) : encoder.encode(token), { stream: true })];
    },
    flush: () => [decoder.decode()],
  };
}
