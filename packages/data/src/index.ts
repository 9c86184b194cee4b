export { DataError, type DataErrorCode } from "./errors.js";
export { type DecodeOptions, type DecodeStream, type EncodeOptions, Tokenizer } from "./tokenizer/tokenizer.js";
