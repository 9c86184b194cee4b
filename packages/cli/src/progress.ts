import { Presets, SingleBar } from "cli-progress";
import type { TextStream } from "./io.js";

/** How far a piece of work is. */
export interface Progress {
  /** `done` of the total; `detail` is a short text behind it ("loss 3.21"); `total` corrects the total. */
  update(done: number, detail?: string, total?: number): void;
  /** Rate and remaining time count from here: `done` of the total are there already, or it is another piece of work that begins. */
  begin(done: number, total: number): void;
  /** Call at the end, also after an error. */
  stop(): void;
}

export interface ProgressOptions {
  readonly label: string;
  readonly total: number;
  /** What is counted: "B" is shown as KiB, MiB, …, anything else as it is. */
  readonly unit: string;
}

/** Plain lines come no more often than this, so that a log stays readable. */
const LINE_EVERY_MS = 5000;

/** A bar on a terminal, plain lines elsewhere. */
export function startProgress(stream: TextStream, options: ProgressOptions): Progress {
  return stream.isTTY ? bar(stream, options) : lines(stream, options);
}

export const silent: Progress = { update() {}, begin() {}, stop() {} };

function bar(stream: TextStream, { label, total, unit }: ProgressOptions): Progress {
  const format = "{label} [{bar}] {percentage}%  {count}  {rate}  {left} left  {detail}";
  const options = { format, stream, clearOnComplete: false, hideCursor: true, etaBuffer: 20, gracefulExit: false };
  const single = new SingleBar(options, Presets.shades_classic);
  let start: Start = { done: 0, at: performance.now() };
  single.start(Math.max(1, total), 0, { label, ...figures(0, total, unit, start), detail: "" });
  const update = (done: number, detail = "", newTotal = total) => {
    single.setTotal(Math.max(1, newTotal));
    single.update(done, { ...figures(done, newTotal, unit, start), detail });
  };
  return {
    update,
    begin(done, newTotal) {
      start = { done, at: performance.now() };
      update(done, "", newTotal);
    },
    stop: () => single.stop(),
  };
}

function lines(stream: TextStream, { label, total, unit }: ProgressOptions): Progress {
  let start: Start = { done: 0, at: performance.now() };
  let last = start.at;
  return {
    begin(done) {
      start = { done, at: performance.now() };
    },
    update(done, detail = "", newTotal = total) {
      const now = performance.now();
      if (now - last < LINE_EVERY_MS) return;
      last = now;
      const { count, rate, left } = figures(done, newTotal, unit, start);
      stream.write(`${`${label}: ${count}, ${rate}, ${left} left  ${detail}`.trimEnd()}\n`);
    },
    stop() {},
  };
}

/** When work began, and what was done by then. */
interface Start {
  readonly done: number;
  readonly at: number;
}

function figures(
  done: number,
  total: number,
  unit: string,
  start: Start,
): { count: string; rate: string; left: string } {
  const seconds = (performance.now() - start.at) / 1000;
  const perSecond = seconds > 0 ? (done - start.done) / seconds : 0;
  return {
    count: `${amount(done, unit)} of ${amount(total, unit)}`,
    rate: `${amount(perSecond, unit)}/s`,
    left: perSecond > 0 ? duration((total - done) / perSecond) : "?",
  };
}

function amount(value: number, unit: string): string {
  if (unit === "B") return formatBytes(value);
  return `${value < 10 && !Number.isInteger(value) ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let [value, unit] = [bytes, 0];
  while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** 7 s, 4 min 10 s, 2 h 05 min. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
}
