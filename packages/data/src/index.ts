export { DataError, type DataErrorCode } from "./errors.js";
export { type DecodeOptions, type DecodeStream, type EncodeOptions, Tokenizer } from "./tokenizer/tokenizer.js";
export { type TokenizerFiles, trainBpe, type TrainBpeOptions, writeTokenizer } from "./bpe/train.js";
export { type BadRecord, type Document, DocumentReader, type ReadOptions } from "./sources/documents.js";
export { isHeldOut } from "./sources/held-out.js";
export { Corpus, type CorpusOptions } from "./packing/corpus.js";
export { type Boundary, boundaryOf, type PackingSettings } from "./packing/settings.js";
export { type Batch, Batches, type BatchSettings, type Position } from "./packing/batches.js";
export { Pcg32, shuffle } from "./packing/pcg32.js";
