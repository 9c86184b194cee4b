import { size } from "@slayer/tensor";
import lossKernel from "../../../../kernels/lm-head-loss/lm_head_loss.wgsl";
import gradientKernel from "../../../../kernels/lm-head-loss/lm_head_loss_gradient.wgsl";
import { type Lowering, PANEL_ROWS, part, type Range } from "../lowering.js";
import { product } from "./matmul.js";
import { NAN_BITS } from "./rows.js";

/** Logits of one panel, in bytes at most: enough to fill a large device, little beside a model. */
const PANEL_BYTES = 2 ** 25;
const PANEL_COLUMNS = 4096;

/** Some columns of the logits of some rows: [rows, columns], and where what it is made of begins. */
interface Panel {
  readonly row: number;
  readonly rows: number;
  readonly column: number;
  readonly columns: number;
  readonly vocabulary: number;
  readonly logits: Range;
  /** Rows of h, [rows, D]. */
  readonly h: Range;
  /** Rows of W, [columns, D]. */
  readonly w: Range;
}

/**
 * Emits the logits of each panel of rows and columns in turn, and what `body` makes of them; h and W are inputs hIndex, hIndex + 1. With `whole`
 * all columns of some rows are there at once, and body gets them.
 */
function panels(lowering: Lowering, hIndex: number, whole: boolean, body: (panels: readonly Panel[]) => void): void {
  const [vocabulary, width] = lowering.kernel.inputs[hIndex + 1]!.shape as [number, number];
  const tokens = size(lowering.kernel.inputs[hIndex]!.shape) / width;
  const h = lowering.input(hIndex);
  // Panels of bf16 begin at whole words if rows are even; else W is widened first.
  const w = width % 2 === 0 ? lowering.stored("input", hIndex + 1) : lowering.input(hIndex + 1);
  const bytes = Math.min(PANEL_BYTES, lowering.device.bindingBytes);
  // Every panel fits one binding, of W and of logits with as few as PANEL_ROWS rows.
  const fits = Math.min(PANEL_COLUMNS, bytes / 4 / width, bytes / 4 / Math.min(tokens, PANEL_ROWS));
  const columns = Math.min(vocabulary, Math.max(PANEL_ROWS, Math.floor(fits / PANEL_ROWS) * PANEL_ROWS));
  const across = Math.ceil(vocabulary / columns);
  const atOnce = whole ? across : 1;
  const rows = Math.min(tokens, Math.max(1, Math.floor(bytes / 4 / columns / atOnce / PANEL_ROWS)) * PANEL_ROWS);
  const memory = Array.from({ length: atOnce }, () => lowering.scratch(4 * rows * columns));
  for (let row = 0; row < tokens; row += rows) {
    const ofRows: Panel[] = [];
    for (let i = 0; i < across; i++) {
      const column = i * columns;
      const [height, wide] = [Math.min(rows, tokens - row), Math.min(columns, vocabulary - column)];
      const panel: Panel = {
        row,
        rows: height,
        column,
        columns: wide,
        vocabulary,
        logits: part(memory[i % atOnce]!, 0, height * wide),
        h: rowsOf(h, row, height, width),
        w: rowsOf(w, column, wide, width),
      };
      product(lowering, {
        a: panel.h,
        b: panel.w,
        c: panel.logits,
        m: height,
        n: wide,
        k: width,
        transposeA: false,
        transposeB: true,
      });
      if (whole) ofRows.push(panel);
      else body([panel]);
    }
    if (whole) body(ofRows);
  }
}

const rowsOf = (matrix: Range, from: number, count: number, width: number) => part(matrix, from * width, count * width);

/** What a panel tells of its rows' losses; nll and log-sum-exp are there after the last panel of a row. */
function emitLoss(lowering: Lowering, panel: Panel, targets: Range, states: Range, nll: Range, lse: Range): void {
  const { row, rows, column, columns, vocabulary } = panel;
  lowering.emit(lossKernel, {
    constants: { WORKGROUP: lowering.workgroup() },
    params: { rows, columns, from_column: column, vocabulary, first_row: row, nan: NAN_BITS },
    ranges: [panel.logits, targets, states, nll, lse],
    groups: lowering.grid(rows),
  });
}

/** Logits to gradients, in place, and what they add to dh and dW. */
function emitGradient(lowering: Lowering, panel: Panel, operands: readonly Range[], dh?: Range, dw?: Range): void {
  const { row, rows, column, columns, logits: g } = panel;
  const width = lowering.kernel.inputs[2]!.shape[1]!;
  const WORKGROUP = lowering.loose;
  lowering.emit(gradientKernel, {
    constants: { WORKGROUP },
    params: { rows, columns, from_column: column, first_row: row },
    ranges: [g, ...operands],
    groups: lowering.grid(Math.ceil((rows * columns) / WORKGROUP)),
  });
  const common = { a: g, transposeB: false, n: width };
  if (dh) {
    const c = rowsOf(dh, row, rows, width);
    product(lowering, { ...common, b: panel.w, c, m: rows, k: columns, transposeA: false, accumulate: column > 0 });
  }
  if (dw) {
    const c = rowsOf(dw, column, columns, width);
    product(lowering, { ...common, b: panel.h, c, m: columns, k: rows, transposeA: true, accumulate: row > 0 });
  }
}

/** dh and dW where they are asked for, results from `first` on. */
function gradientsOf(lowering: Lowering, first: number): [Range | undefined, Range | undefined] {
  const { hidden, weight } = lowering.kernel.attrs;
  return [
    hidden ? lowering.output(first) : undefined,
    weight ? lowering.output(first + Number(hidden === true)) : undefined,
  ];
}

export function lowerLmHeadLoss(lowering: Lowering): void {
  const tokens = size(lowering.kernel.outputs[0]!.shape);
  const [targets, nll, lse] = [lowering.input(2), lowering.output(0), lowering.output(1)];
  const states = lowering.scratch(16 * tokens);
  panels(lowering, 0, false, ([panel]) => emitLoss(lowering, panel!, targets, states, nll, lse));
}

export function lowerLmHeadLossBackward(lowering: Lowering): void {
  const operands = [0, 3, 4].map((i) => lowering.input(i));
  const [dh, dw] = gradientsOf(lowering, 0);
  panels(lowering, 1, false, ([panel]) => emitGradient(lowering, panel!, operands, dh, dw));
}

export function lowerLmHeadLossWithGradient(lowering: Lowering): void {
  const tokens = size(lowering.kernel.outputs[0]!.shape);
  const [dnll, targets, nll] = [lowering.input(0), lowering.input(3), lowering.output(0)];
  const [dh, dw] = gradientsOf(lowering, 1);
  const [states, lse] = [lowering.scratch(16 * tokens), lowering.scratch(4 * tokens)];
  panels(lowering, 1, true, (ofRows) => {
    for (const panel of ofRows) emitLoss(lowering, panel, targets, states, nll, lse);
    for (const panel of ofRows) emitGradient(lowering, panel, [dnll, targets, lse], dh, dw);
  });
}
