export { DataError, type DataErrorCode } from "./errors.js";
export { type DecodeOptions, type DecodeStream, type EncodeOptions, Tokenizer } from "./tokenizer/tokenizer.js";
export { type TokenizerFiles, trainBpe, type TrainBpeOptions, writeTokenizer } from "./bpe/train.js";
export { type Document, DocumentReader, type ReadOptions } from "./sources/documents.js";
export { expandPath } from "./sources/glob.js";
export type { BadRecord } from "./sources/bad-records.js";
export type { RecordOptions } from "./sources/records.js";
export { isHeldOut } from "./sources/held-out.js";
export { Corpus, type CorpusOptions } from "./packing/corpus.js";
export { type Boundary, boundaryOf, type PackingSettings } from "./packing/settings.js";
export { type Batch, Batches, type BatchSettings } from "./packing/batches.js";
export { JoinedSource } from "./packing/joined-source.js";
export type { SourcePosition, WeightedSource } from "./packing/mixture.js";
export type { Position } from "./packing/position.js";
export type { TokenSource } from "./packing/token-source.js";
export {
  StreamedBatches,
  type StreamedSource,
  type StreamOptions,
  type StreamPosition,
  type StreamSettings,
} from "./streaming/streamed-batches.js";
export { Pcg32, shuffle } from "./packing/pcg32.js";
export { type ChatTemplateSource, loadChatTemplate } from "./sft/chat-template.js";
export type { Conversation, Layout, Message } from "./sft/layouts.js";
export { type PreparedSource, prepareSource } from "./store/prepare-source.js";
export { type Preview, previewSource } from "./store/preview.js";
export type { SourceSpec } from "./store/source-spec.js";
export type { PrepareOptions, PrepareProgress, SourceReport } from "./store/tokenize-source.js";
export type { TokenFile, TokenFileInfo, TokenWidth } from "./store/token-file.js";
