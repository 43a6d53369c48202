import { ForerunError } from '@forerun/tensor';

/** A field of config.json or generation_config.json is missing, of a wrong type, or out of range. */
export class ModelConfigError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('model-config', message, options);
  }
}

/** The checkpoint asks for an architecture, or a feature of one, that is not implemented; running it would give wrong results. */
export class UnsupportedModelError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('unsupported-model', message, options);
  }
}
