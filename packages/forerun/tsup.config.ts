import { preset } from '@forerun/tooling/tsup';

export default preset(['src/{index,cli}.ts', 'src/launch/{adapter-environment,probe-adapter}.ts']);
