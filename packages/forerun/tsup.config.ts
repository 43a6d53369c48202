import { existsSync } from 'node:fs';
import { preset } from '@forerun/tooling/tsup';

export default preset(
  ['src/cli.ts', 'src/launch/adapter-environment.ts', 'src/launch/probe-adapter.ts'].filter((path) => existsSync(path)),
);
