import { size } from "@slayer/tensor";
import lossKernel from "../../../../kernels/lm-head-loss/lm_head_loss.wgsl";
import gradientKernel from "../../../../kernels/lm-head-loss/lm_head_loss_gradient.wgsl";
import { type Lowering, PANEL_ROWS, part, type Range } from "../lowering.js";
import { product } from "./matmul.js";
import { NAN_BITS } from "./rows.js";

/** Logits of one panel, in bytes at most: enough to fill a large device, little beside a model. */
const PANEL_BYTES = 2 ** 25;
const PANEL_COLUMNS = 4096;

interface Panel {
  readonly row: number;
  readonly rows: number;
  readonly column: number;
  readonly columns: number;
  readonly logits: Range;
  /** Rows of h, [rows, D]. */
  readonly h: Range;
  /** Rows of W, [columns, D]. */
  readonly w: Range;
}

/** Emits the logits of each panel of rows and columns in turn, and what `body` makes of them; h and W are inputs hIndex, hIndex + 1. */
function panels(lowering: Lowering, hIndex: number, body: (panel: Panel) => void): void {
  const [vocabulary, width] = lowering.kernel.inputs[hIndex + 1]!.shape as [number, number];
  const tokens = size(lowering.kernel.inputs[hIndex]!.shape) / width;
  const h = lowering.input(hIndex);
  // Panels of bf16 begin at whole words if rows are even; else W is widened first.
  const w = width % 2 === 0 ? lowering.stored("input", hIndex + 1) : lowering.input(hIndex + 1);
  const bytes = Math.min(PANEL_BYTES, lowering.device.bindingBytes);
  // Every panel fits one binding, of W and of logits with as few as PANEL_ROWS rows.
  const fits = Math.min(PANEL_COLUMNS, bytes / 4 / width, bytes / 4 / Math.min(tokens, PANEL_ROWS));
  const columns = Math.min(vocabulary, Math.max(PANEL_ROWS, Math.floor(fits / PANEL_ROWS) * PANEL_ROWS));
  const rows = Math.min(tokens, Math.max(1, Math.floor(bytes / 4 / columns / PANEL_ROWS)) * PANEL_ROWS);
  const memory = lowering.scratch(4 * rows * columns);
  for (let row = 0; row < tokens; row += rows) {
    for (let column = 0; column < vocabulary; column += columns) {
      const panel: Panel = {
        row,
        rows: Math.min(rows, tokens - row),
        column,
        columns: Math.min(columns, vocabulary - column),
        logits: memory,
        h,
        w,
      };
      const logits = part(memory, 0, panel.rows * panel.columns);
      const [hRows, wRows] = [rowsOf(h, row, panel.rows, width), rowsOf(w, column, panel.columns, width)];
      product(lowering, {
        a: hRows,
        b: wRows,
        c: logits,
        m: panel.rows,
        n: panel.columns,
        k: width,
        transposeA: false,
        transposeB: true,
      });
      body({ ...panel, logits, h: hRows, w: wRows });
    }
  }
}

const rowsOf = (matrix: Range, from: number, count: number, width: number) => part(matrix, from * width, count * width);

export function lowerLmHeadLoss(lowering: Lowering): void {
  const vocabulary = lowering.kernel.inputs[1]!.shape[0]!;
  const states = lowering.scratch(16 * size(lowering.kernel.outputs[0]!.shape));
  panels(lowering, 0, ({ logits, row, rows, column, columns }) => {
    lowering.emit(lossKernel, {
      constants: { WORKGROUP: lowering.workgroup() },
      params: { rows, columns, from_column: column, vocabulary, first_row: row, nan: NAN_BITS },
      ranges: [logits, lowering.input(2), states, lowering.output(0), lowering.output(1)],
      groups: lowering.grid(rows),
    });
  });
}

export function lowerLmHeadLossBackward(lowering: Lowering): void {
  const { attrs, inputs } = lowering.kernel;
  const width = inputs[2]!.shape[1]!;
  const [dnll, targets, lse] = [0, 3, 4].map((i) => lowering.input(i));
  const dh = attrs.hidden ? lowering.output(0) : undefined;
  const dw = attrs.weight ? lowering.output(attrs.hidden ? 1 : 0) : undefined;
  const WORKGROUP = lowering.loose;
  panels(lowering, 1, ({ logits: g, row, rows, column, columns, h: hRows, w: wRows }) => {
    lowering.emit(gradientKernel, {
      constants: { WORKGROUP },
      params: { rows, columns, from_column: column, first_row: row },
      ranges: [g, dnll!, targets!, lse!],
      groups: lowering.grid(Math.ceil((rows * columns) / WORKGROUP)),
    });
    const common = { transposeB: false, n: width };
    if (dh) {
      product(lowering, {
        ...common,
        a: g,
        b: wRows,
        c: rowsOf(dh, row, rows, width),
        m: rows,
        k: columns,
        transposeA: false,
        accumulate: column > 0,
      });
    }
    if (dw) {
      product(lowering, {
        ...common,
        a: g,
        b: hRows,
        c: rowsOf(dw, column, columns, width),
        m: columns,
        k: rows,
        transposeA: true,
        accumulate: row > 0,
      });
    }
  });
}
