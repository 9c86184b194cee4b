/** What of this package needs no file system: the entry that bundlers for browsers take. */
export { DataError, type DataErrorCode } from "./errors.js";
export { type DecodeOptions, type DecodeStream, type EncodeOptions, Tokenizer } from "./tokenizer/tokenizer.js";
