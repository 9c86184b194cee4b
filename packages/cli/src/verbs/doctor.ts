import { arch, cpus, freemem, platform, totalmem } from "node:os";
import type { Command } from "commander";
import { type Probe, probeBackends } from "../backends.js";
import { newVerb } from "../command.js";
import { measureCopy, measureGemm } from "../measure.js";
import { formatBytes } from "../progress.js";
import type { CommonOptions, Context } from "../run.js";

export function addDoctor(program: Command, context: Context): void {
  newVerb(program, "doctor", "show which backends work here, and how fast they are", ["slayer doctor"]).action(
    (options: CommonOptions) =>
      context.run(options, async (run) => {
        const machine = describeMachine();
        run.print(`Node ${machine.node} on ${machine.platform}`);
        run.print(`${machine.cores} × ${machine.cpu}`);
        run.print(`memory ${formatBytes(machine.memory_bytes)}, ${formatBytes(machine.free_memory_bytes)} free`);
        const backends = [];
        for (const probe of await probeBackends(options.device)) {
          run.signal.throwIfAborted();
          const finding = await examine(probe, run.signal);
          run.print(describe(finding));
          backends.push(finding);
        }
        const auto = backends.find((found) => found.works && found.auto)?.name ?? null;
        run.print(`auto: ${auto ?? "no backend works"}`);
        return { ...machine, backends, auto };
      }),
  );
}

export function describeMachine() {
  const processors = cpus();
  return {
    node: process.versions.node,
    platform: `${platform()}-${arch()}`,
    cpu: processors[0]?.model.trim() ?? "unknown processor",
    cores: processors.length,
    memory_bytes: totalmem(),
    free_memory_bytes: freemem(),
  };
}

type Finding =
  | { readonly name: string; readonly works: false; readonly why: string; readonly install: string }
  | {
      readonly name: string;
      readonly works: true;
      /** Whether `auto` may take it. */
      readonly auto: boolean;
      readonly device: string;
      readonly max_buffer_bytes: number;
      readonly gemm_gflops: number;
      readonly copy_gb_per_second: number;
    };

async function examine(probe: Probe, signal: AbortSignal): Promise<Finding> {
  if (!("backend" in probe)) return { name: probe.name, works: false, why: probe.why, install: probe.install };
  const { name, backend, auto } = probe;
  try {
    return {
      name,
      works: true,
      auto,
      device: backend.capabilities.device,
      max_buffer_bytes: backend.capabilities.maxBufferBytes,
      gemm_gflops: await measureGemm(backend, signal),
      copy_gb_per_second: await measureCopy(backend),
    };
  } finally {
    await backend.close();
  }
}

function describe(finding: Finding): string {
  if (!finding.works) return `${finding.name}: does not work: ${finding.why}; install: ${finding.install}`;
  const { name, device, max_buffer_bytes: largest, gemm_gflops: gemm, copy_gb_per_second: copy } = finding;
  return (
    `${name}: works, on ${device}; largest buffer ${formatBytes(largest)}; measured: ` +
    `f32 GEMM ${gemm.toPrecision(3)} GFLOP/s, copy to the device ${copy.toPrecision(3)} GB/s`
  );
}
