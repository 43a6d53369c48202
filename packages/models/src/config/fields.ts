import { type ConfigJson, ConfigFields } from '@forerun/checkpoints';
import { ModelConfigError, UnsupportedModelError } from '../errors.ts';

const errors = { malformed: ModelConfigError, unsupported: UnsupportedModelError };

/** A reader of a model's configuration. */
export function modelFields(json: ConfigJson, file?: string): ConfigFields {
  return new ConfigFields(json, errors, file);
}
