export { default } from '@forerun/tooling/tsup';
