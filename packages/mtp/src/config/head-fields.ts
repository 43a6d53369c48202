import { type ConfigJson, ConfigFields } from '@forerun/checkpoints';
import { HeadConfigError } from '../errors.ts';

const errors = { malformed: HeadConfigError, unsupported: HeadConfigError };

/** A reader of the configuration of heads. */
export function headFields(json: ConfigJson, file?: string): ConfigFields {
  return new ConfigFields(json, errors, file);
}
