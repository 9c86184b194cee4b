/** Reads a SentencePiece BPE model (protobuf) and writes the tokenizer.json that means the same, for tests only. */
export function tokenizerJsonOfSentencePiece(bytes: Uint8Array): string {
  const pieces = readPieces(bytes);
  const ids = new Map(pieces.map(({ text }, id) => [text, id]));
  // Two pieces merge into a third; the better its score the sooner (then the longer left half, as transformers' converter has it).
  const merges = pieces.flatMap(({ text, score }) => {
    const chars = Array.from(text);
    return chars.slice(1).flatMap((_, i) => {
      const pair = [chars.slice(0, i + 1).join(""), chars.slice(i + 1).join("")];
      return pair.every((side) => ids.has(side)) ? [{ pair, score, left: i + 1 }] : [];
    });
  });
  merges.sort((a, b) => b.score - a.score || b.left - a.left);
  return JSON.stringify({
    added_tokens: [],
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      unk_token: "<unk>",
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(ids),
      merges: merges.map(({ pair }) => pair),
    },
  });
}

interface Piece {
  text: string;
  score: number;
}

/** ModelProto: field 1, repeated SentencePiece { 1: piece (string), 2: score (float), 3: type }. */
function readPieces(bytes: Uint8Array): Piece[] {
  return fieldsOf(bytes)
    .filter(({ field }) => field === 1)
    .map(({ value }) => {
      const fields = new Map(fieldsOf(value).map((each) => [each.field, each.value]));
      const score = fields.get(2);
      return {
        text: new TextDecoder().decode(fields.get(1)),
        score: score === undefined ? 0 : new DataView(score.buffer, score.byteOffset).getFloat32(0, true),
      };
    });
}

/** The fields of a protobuf message; a varint has no bytes here. */
function fieldsOf(bytes: Uint8Array): { field: number; value: Uint8Array }[] {
  const fields: { field: number; value: Uint8Array }[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const wire = tag & 7;
    const length = wire === 0 ? (varint(), 0) : wire === 1 ? 8 : wire === 5 ? 4 : varint();
    fields.push({ field: tag >>> 3, value: bytes.subarray(at, at + length) });
    at += length;
  }
  return fields;
}
