/**
 * The byte alphabet of GPT-2's byte-level BPE: every byte has one printable character. Printable Latin-1 bytes stand for
 * themselves; the other 68 are numbered from U+0100 in order (so space is U+0120, newline U+010A).
 */
export const byteToChar: readonly string[] = (() => {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
})();

export const charToByte: ReadonlyMap<string, number> = new Map(byteToChar.map((char, byte) => [char, byte]));
