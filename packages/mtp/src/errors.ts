import { ForerunError } from '@forerun/tensor';

/** A head's configuration or files are incomplete or malformed, or ask for something that is not implemented. */
export class HeadConfigError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('head-config', message, options);
  }
}
