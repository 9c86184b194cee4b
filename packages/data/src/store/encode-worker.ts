// Runs on a thread of its own: encodes what it is sent, in the order in which it is sent.
import { parentPort, workerData } from "node:worker_threads";
import { DataError } from "../errors.js";
import { type EncoderSpec, type Item, ItemEncoder } from "./encode-items.js";

const encoder = ItemEncoder.load(workerData as EncoderSpec);

parentPort!.on("message", (items: readonly Item[]) => {
  void encoder
    .then((ready) => ready.encode(items))
    .then(
      (encoded) =>
        parentPort!.postMessage({ encoded }, [encoded.tokens.buffer, encoded.lengths.buffer] as ArrayBuffer[]),
      (error: Error) => {
        const { code, file, line } = error instanceof DataError ? error : ({} as Partial<DataError>);
        parentPort!.postMessage({ error: { message: error.message, code, file, line } }, []);
      },
    );
});
