import { preset } from '@forerun/tooling/tsup';

export default preset(['src/index.ts', 'src/sources/folder.node.ts', 'src/sources/folder.browser.ts']);
