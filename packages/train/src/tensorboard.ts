import { appendFile, mkdir } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";

/**
 * TensorBoard's event file: a TFRecord stream of `Event` messages. One record is its length (u64), the masked CRC32C of
 * the length, the data, and the masked CRC32C of the data, all little-endian (tensorflow/core/lib/io/record_writer.h);
 * the messages are protocol buffers (tensorboard/compat/proto/event.proto, summary.proto), of which six fields are used.
 */
export class EventFile {
  readonly #file: string;

  private constructor(file: string) {
    this.#file = file;
  }

  /**
   * A new file in `dir`. `firstStep` is where the run goes on: TensorBoard then leaves out what earlier files hold from that
   * step on.
   */
  static async create(dir: string, firstStep: number, now = Date.now() / 1000): Promise<EventFile> {
    await mkdir(dir, { recursive: true });
    const name = `events.out.tfevents.${Math.floor(now)}.${hostname()}.${process.pid}.${firstStep}`;
    const events = new EventFile(join(dir, name));
    await events.#append(event(now, 0, text(3, "brain.Event:2")));
    // SessionLog with status START = 1
    if (firstStep > 0) await events.#append(event(now, firstStep, bytes(7, varint(1, 1))));
    return events;
  }

  /** One point of each curve. */
  async scalars(step: number, values: Readonly<Record<string, number>>, now = Date.now() / 1000): Promise<void> {
    const summary = Object.entries(values).map(([tag, value]) =>
      bytes(1, Buffer.concat([text(1, tag), float(2, value)])),
    );
    await this.#append(event(now, step, bytes(5, Buffer.concat(summary))));
  }

  async #append(data: Buffer): Promise<void> {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(data.length));
    await appendFile(this.#file, Buffer.concat([length, maskedCrc(length), data, maskedCrc(data)]));
  }
}

function event(wallTime: number, step: number, what: Buffer): Buffer {
  const time = Buffer.alloc(9);
  time[0] = (1 << 3) | 1; // field 1, 64 bits
  time.writeDoubleLE(wallTime, 1);
  return Buffer.concat([time, varint(2, step), what]);
}

/** Field `number`, a whole number of 7 bits per byte. */
function varint(number: number, value: number): Buffer {
  return Buffer.from([number << 3, ...base128(value)]);
}

function bytes(number: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...base128(value.length)]), value]);
}

const text = (number: number, value: string): Buffer => bytes(number, Buffer.from(value, "utf8"));

function float(number: number, value: number): Buffer {
  const field = Buffer.alloc(5);
  field[0] = (number << 3) | 5;
  field.writeFloatLE(value, 1);
  return field;
}

function base128(value: number): number[] {
  const digits: number[] = [];
  let left = value;
  while (left >= 128) {
    digits.push((left % 128) | 128);
    left = Math.floor(left / 128);
  }
  return [...digits, left];
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1; // Castagnoli's polynomial, reversed
  return c;
});

function maskedCrc(data: Buffer): Buffer {
  let c = 0xffffffff;
  for (const byte of data) c = TABLE[(c ^ byte) & 0xff]! ^ (c >>> 8);
  const crc = ~c >>> 0;
  const masked = Buffer.alloc(4);
  masked.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return masked;
}
