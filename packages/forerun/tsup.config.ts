import { preset } from '@forerun/tooling/tsup';

export default preset([
  'src/index.ts',
  'src/cli.ts',
  'src/launch/adapter-environment.ts',
  'src/launch/probe-adapter.ts',
]);
