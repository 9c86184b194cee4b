import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { EventFile } from "../src/tensorboard.js";

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-events-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Bit by bit, from the definition: reflected, polynomial 1EDC6F41, as RFC 3720 B.4 has it. */
function crc32c(data: Uint8Array): number {
  let crc = 0xffffffffn;
  for (const byte of data) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n;
  }
  return Number(crc ^ 0xffffffffn);
}

const masked = (crc: number): number =>
  Number(((((BigInt(crc) >> 15n) | (BigInt(crc) << 17n)) & 0xffffffffn) + 0xa282ead8n) & 0xffffffffn);

it("the checksum used here gives RFC 3720's value for 32 bytes of zeros", () => {
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
});

it("is the stream of records that TensorBoard reads: lengths, masked checksums, messages", async () => {
  const events = await EventFile.create(dir, 3, 1000.5);
  await events.scalars(300, { "train/loss": 1.5, lr: -0.25 }, 1001.5);
  const file = await readFile(join(dir, (await readdir(dir))[0]!));
  const records: Buffer[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(file.readBigUInt64LE(at));
    expect(file.readUInt32LE(at + 8)).toBe(masked(crc32c(file.subarray(at, at + 8))));
    const data = file.subarray(at + 12, at + 12 + length);
    expect(file.readUInt32LE(at + 12 + length)).toBe(masked(crc32c(data)));
    records.push(data);
    at += 16 + length;
  }
  const hex = (data: Buffer) => data.toString("hex");
  const wall = (time: number) => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleLE(time);
    return `09${hex(bytes)}`;
  };
  // By hand from event.proto: wall_time 1 (double), step 2 (varint), file_version 3, summary 5, session_log 7.
  expect(records.map(hex)).toEqual([
    `${wall(1000.5)}10001a0d${hex(Buffer.from("brain.Event:2"))}`,
    `${wall(1000.5)}10033a020801`,
    `${wall(1001.5)}10ac022a1e0a110a0a${hex(Buffer.from("train/loss"))}150000c03f0a090a02${hex(Buffer.from("lr"))}15000080be`,
  ]);
});
