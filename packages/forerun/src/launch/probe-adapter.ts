/**
 * Run as a process of its own: prints `hardware`, `software` or `none` for the adapter that the npm package `webgpu`
 * finds.
 */
import { create } from 'webgpu';

const gpu = create([]);
const adapter = await gpu.requestAdapter();
const cpu = /swiftshader|llvmpipe|lavapipe|\bcpu\b/i;
const names = adapter
  ? [adapter.info.vendor, adapter.info.architecture, adapter.info.device, adapter.info.description].join(' ')
  : '';
process.stdout.write(adapter === null ? 'none' : cpu.test(names) ? 'software' : 'hardware');
process.exit(0);
