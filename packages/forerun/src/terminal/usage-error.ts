import { ForerunError } from '@forerun/tensor';

/** The command line was used in a way that it does not know. */
export class UsageError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('usage', message, options);
  }
}
