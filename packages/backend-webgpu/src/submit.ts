import type { Command } from "./executable.js";
import type { Profile } from "./profile.js";

/** Dispatches in order, in one pass: WebGPU orders those that touch the same buffer. With a profile, in a pass each. */
export function submit(device: GPUDevice, commands: readonly Command[], profile?: Profile): void {
  const encoder = device.createCommandEncoder();
  if (profile) {
    profile.encode(encoder, commands, (pass, command) => encode(pass, [command]));
  } else {
    const pass = encoder.beginComputePass();
    encode(pass, commands);
    pass.end();
  }
  device.queue.submit([encoder.finish()]);
}

function encode(pass: GPUComputePassEncoder, commands: readonly Command[]): void {
  let pipeline: GPUComputePipeline | undefined;
  for (const command of commands) {
    if (command.pipeline !== pipeline) pass.setPipeline((pipeline = command.pipeline));
    pass.setBindGroup(0, command.group);
    pass.dispatchWorkgroups(command.groups[0], command.groups[1], command.groups[2]);
  }
}
