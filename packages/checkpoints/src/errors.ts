import { AbortedError, ForerunError } from '@forerun/tensor';

export { AbortedError };

/** A file name that would leave its folder or host, or is no relative path at all. Nothing was opened. */
export class PathError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('path', message, options);
  }
}

/** A file that was asked for is not there. */
export class FileMissingError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('file-missing', message, options);
  }
}

/** The file or server refused access: permissions, a missing token, a gated repository. */
export class AccessError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('access', message, options);
  }
}

/** A server could not be reached, timed out, or kept failing after all retries. Trying again later may help. */
export class NetworkError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('network', message, options);
  }
}

/** A server answered with something other than what was asked for, such as another byte range. Trying again does not help. */
export class ResponseError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('response', message, options);
  }
}

/** A file or response ended before the bytes that it promised. */
export class TruncatedError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('truncated', message, options);
  }
}

/** A file changed while it was being read. */
export class FileChangedError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('file-changed', message, options);
  }
}

/** A safetensors file breaks the format. Nothing of it was used. */
export class SafetensorsError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('safetensors', message, options);
  }
}

/** A GGUF file breaks the format, or uses a part of it that is not supported. Nothing of it was used. */
export class GgufError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('gguf', message, options);
  }
}

/** A PyTorch file holds something else than tensors, or is damaged. Nothing of it was used and no code of it was run. */
export class TorchFileError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('torch-file', message, options);
  }
}

/** The index of a sharded checkpoint is malformed, or does not agree with its shards. */
export class ShardIndexError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('shard-index', message, options);
  }
}

/** A JSON file of the checkpoint (config.json, generation_config.json) is not what it has to be. */
export class ConfigFileError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('config-file', message, options);
  }
}

/** A model and a checkpoint disagree about names: tensors missing from the file, or in the file and never read. */
export class WeightNameError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('weight-names', message, options);
  }
}

/** tokenizer.json or tokenizer_config.json cannot be used, or a token id is outside the vocabulary. */
export class TokenizerError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('tokenizer', message, options);
  }
}

/** A chat template is missing, malformed, refuses the messages, or runs past its limits. */
export class ChatTemplateError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('chat-template', message, options);
  }
}

/** The browser's storage for downloaded files is missing or failed. Loading works without it. */
export class CacheStorageError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('cache-storage', message, options);
  }
}

/**
 * Throws when `signal` has fired.
 *
 * @throws {@link AbortedError} whose cause is the signal's reason.
 */
export function throwIfAborted(signal: AbortSignal | undefined, doing: string): void {
  if (signal?.aborted) throw new AbortedError(`Aborted while ${doing}.`, { cause: signal.reason });
}
