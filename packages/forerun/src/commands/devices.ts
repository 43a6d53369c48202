import { requestDevice } from '@forerun/tensor';
import { Command } from 'commander';
import { jsonLine, line } from '../terminal/write.ts';
import { adapterText } from './statistics-text.ts';

const shownLimits = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxUniformBufferBindingSize',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupsPerDimension',
] as const;

/** `forerun devices`: what computes here. */
export function devicesCommand(): Command {
  return new Command('devices')
    .description('say which adapter computes here, its limits and its features')
    .option('--json', 'print JSON')
    .action(devices);
}

async function devices(flags: { json?: boolean }): Promise<void> {
  const device = await requestDevice();
  try {
    const { adapter } = device;
    const features = [...device.gpu.features].sort();
    const limits = Object.fromEntries(shownLimits.map((name) => [name, device.limits[name]] as const));
    const lane = process.env['FORERUN_ADAPTER'] ?? 'gpu';
    if (flags.json) return await jsonLine({ adapter, features, limits, lane });
    const facts = {
      adapter: adapterText(adapter),
      kind: adapter.kind,
      vendor: adapter.vendor,
      architecture: adapter.architecture,
      features: features.join(', ') || 'none',
      ...Object.fromEntries(Object.entries(limits).map(([name, value]) => [name, value.toLocaleString('en-US')])),
    };
    for (const [name, value] of Object.entries(facts)) await line(`${name.padEnd(34)}${value}`);
    if (adapter.kind === 'software') {
      await line("\nNo GPU is used. FORERUN_ADAPTER=gpu asks for the machine's own driver.");
    }
  } finally {
    device.destroy();
  }
}
