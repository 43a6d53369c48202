import { preset } from '@forerun/tooling/tsup';

export default preset(['src/index.ts', 'src/device/gpu.node.ts', 'src/device/gpu.browser.ts']);
