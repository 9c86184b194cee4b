import {
  add,
  copy,
  createReferenceBackend,
  differentiate,
  fusedOps,
  Graph,
  type Kernel,
  lmHeadLoss,
  makePlan,
  Program,
  Store,
  sum,
  type Tensor,
} from "@slayer/tensor";
import { describe, expect, it } from "vitest";

const all = ({ op }: Kernel) => fusedOps.includes(op);
const [N, V, D] = [6, 11, 4];

/** h and W, their loss in f64, and operands to differentiate by. */
function head() {
  const graph = new Graph();
  const [h, w] = [graph.parameter("h", [N, D], "f64"), graph.parameter("w", [V, D], "f64")];
  const nll = lmHeadLoss(h, w, graph.input("targets", [N], "i32"));
  return { graph, h, w, nll };
}
const opsOf = (graph: Graph, outputs: Record<string, Tensor>, can = all) =>
  makePlan(graph, outputs, can).steps.map(({ op }) => op);

describe("the LM head's loss with its gradient", () => {
  it("is one step where the backend says so; the sum of the loss comes after", () => {
    const { graph, h, w, nll } = head();
    const loss = sum(nll);
    const [dh, dw] = differentiate(loss, [h, w]);
    const outputs = { loss, dh: dh!, dw: dw! };
    expect(opsOf(graph, outputs, () => false)).toEqual([
      "lm_head_loss",
      "sum",
      "fill",
      "broadcast",
      "lm_head_loss_backward",
    ]);
    expect(opsOf(graph, outputs)).toEqual(["fill", "broadcast", "lm_head_loss_with_gradient", "sum"]);
    const cost = (can: typeof all) => {
      const { steps } = makePlan(graph, outputs, can);
      return [
        steps.reduce((n, step) => n + step.cost.matmulFlops, 0),
        steps.reduce((n, step) => n + step.cost.flops, 0),
      ];
    };
    const [[model, work], [modelOfParts, workOfParts]] = [cost(all), cost(() => false)] as [number[], number[]];
    expect(model).toBe(modelOfParts);
    expect(workOfParts! - work!).toBe(2 * N * V * D); // the logits once, not twice
  });

  it("gives the parts' values to the last bit: nll, its sum, dh, dW; ignored targets are 0", async () => {
    const backend = createReferenceBackend();
    const results = [];
    for (const fused of [undefined, fusedOps]) {
      const { graph, h, w, nll } = head();
      const loss = sum(nll);
      const [dh, dw] = differentiate(loss, [h, w]);
      const store = new Store({ ...backend, capabilities: { ...backend.capabilities, ...(fused && { fused }) } });
      for (const [name, rows] of [["h", N] as const, ["w", V] as const]) {
        store.add({ name, shape: [rows, D], dtype: "f64" });
        await store.write(
          name,
          Float64Array.from({ length: rows * D }, (_, i) => Math.sin(i * 7 + rows)),
        );
      }
      const program = await Program.compile(graph, { nll, loss, dh: dh!, dw: dw! }, store);
      expect(program.plan.steps.some(({ op }) => op === "lm_head_loss_with_gradient")).toBe(fused !== undefined);
      await program.run({ targets: Int32Array.of(3, -100, 0, 10, 3, -100) });
      const read = (name: string) => program.read(name).then((values) => [...values]);
      results.push({ nll: await read("nll"), loss: await read("loss"), dh: await read("dh"), dw: await read("dw") });
    }
    expect(results[1]).toEqual(results[0]);
    expect(results[1]!.nll[1]).toBe(0);
    expect(results[1]!.dh.slice(D, 2 * D)).toEqual([0, 0, 0, 0]);
  });

  it("stays in two where the gradient wants the loss, something changes in between, or others read what the parts share", () => {
    const parts = (graph: Graph, outputs: Record<string, Tensor>) =>
      expect(opsOf(graph, outputs)).not.toContain("lm_head_loss_with_gradient");
    const backward = (graph: Graph, operands: readonly Tensor[]) =>
      graph.apply("lm_head_loss_backward", operands, { hidden: true, weight: false })[0]!;

    const plain = head();
    const made = plain.nll.producer!.outputs as [Tensor, Tensor];
    const ids = plain.graph.persistent.get("targets")!;
    const whole = backward(plain.graph, [plain.graph.input("dnll", [N], "f64"), plain.h, plain.w, ids, made[1]]);
    expect(opsOf(plain.graph, { nll: made[0], whole })).toEqual(["lm_head_loss_with_gradient"]);

    const own = head(); // dnll is made of the loss
    const [nll, lse] = own.nll.producer!.outputs as [Tensor, Tensor];
    const targets = own.graph.persistent.get("targets")!;
    parts(own.graph, { nll, dh: backward(own.graph, [add(nll, nll), own.h, own.w, targets, lse]) });

    const read = head();
    const outputs = read.nll.producer!.outputs as [Tensor, Tensor];
    const wanted = read.graph.persistent.get("targets")!;
    const dh = backward(read.graph, [read.graph.input("dnll", [N], "f64"), read.h, read.w, wanted, outputs[1]]);
    parts(read.graph, { nll: outputs[0], lse: outputs[1], dh }); // the log-sum-exp is an output

    const changed = head();
    const before = changed.nll.producer!.outputs as [Tensor, Tensor];
    const state = changed.graph.state("s", [N], "f64");
    const seen = add(before[0], state); // reads the state before it changes
    copy(state, changed.graph.input("x", [N], "f64"));
    const there = changed.graph.persistent.get("targets")!;
    const late = backward(changed.graph, [
      changed.graph.input("dnll", [N], "f64"),
      changed.h,
      changed.w,
      there,
      before[1],
    ]);
    parts(changed.graph, { seen, late });
  });
});
