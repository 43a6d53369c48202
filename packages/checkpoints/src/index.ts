export {
  AbortedError,
  AccessError,
  CacheStorageError,
  ChatTemplateError,
  ConfigFileError,
  FileChangedError,
  FileMissingError,
  GgufError,
  NetworkError,
  PathError,
  ResponseError,
  SafetensorsError,
  ShardIndexError,
  TokenizerError,
  TorchFileError,
  TruncatedError,
  WeightNameError,
} from './errors.ts';
export type { ByteReader, ByteSource, ReadOptions } from './sources/byte-source.ts';
export { directorySource, filesSource } from './sources/browser-files.ts';
export type { FolderOptions } from './sources/folder.browser.ts';
export { folderSource } from '#folder';
export { httpSource } from './sources/http.ts';
export type { HttpOptions } from './sources/http-request.ts';
export type { HubOptions } from './sources/hub.ts';
export { hubSource } from './sources/hub.ts';
export { memorySource } from './sources/memory.ts';
export { singleFileSource } from './sources/single-file.ts';
export type { StoredDType } from './checkpoint/stored-dtype.ts';
export type { SafetensorsEntry, SafetensorsHeader } from './safetensors/header.ts';
export { parseHeader, readHeader } from './safetensors/header.ts';
export type { GgufScalar, GgufValue } from './gguf/cursor.ts';
export type { GgufHeader, GgufTensor } from './gguf/header.ts';
export { parseGguf, readGguf } from './gguf/header.ts';
export type { GgufTensorType } from './gguf/types.ts';
export { ggufName } from './gguf/names.ts';
export type { GgufEntry, PlannedGgufTensor } from './gguf/write.ts';
export { ggufPieces } from './gguf/write.ts';
export type { ConfigJson, FieldErrors } from './checkpoint/config-fields.ts';
export { ConfigFields } from './checkpoint/config-fields.ts';
export type { CheckpointTensor } from './checkpoint/checkpoint.ts';
export { Checkpoint } from './checkpoint/checkpoint.ts';
export { declaredCheckpoint } from './checkpoint/declared.ts';

export type { OpenOptions } from './checkpoint/open.ts';
export { openCheckpoint } from './checkpoint/open.ts';
export type { LoadProgress, StreamOptions, TensorSlice } from './checkpoint/stream.ts';
export type { LoadOptions, WeightSink } from './weights/load.ts';
export { loadWeights } from './weights/load.ts';
export type { SourceDType, WeightPolicy } from './weights/weights.ts';
export { Weights } from './weights/weights.ts';
export { widen } from './weights/widen.ts';
export type { BlobStore, StoredBlob } from './cache/blob-store.ts';
export { memoryBlobStore } from './cache/blob-store.ts';
export { browserBlobStore } from './cache/browser-blob-store.ts';
export { cacheApiBlobStore } from './cache/cache-api.ts';
export { directoryBlobStore } from './cache/directory.ts';
export type { CacheOptions, CacheStatistics, CachedSource } from './cache/cached-source.ts';
export { cachedSource } from './cache/cached-source.ts';
export { evict } from './cache/evict.ts';
export type { ChatMessage, RenderOptions } from './tokenizer/chat-template.ts';
export { ChatTemplate } from './tokenizer/chat-template.ts';
export { StreamingDetokenizer } from './tokenizer/detokenizer.ts';
export type { DecodeOptions, SpecialRole } from './tokenizer/tokenizer.ts';
export { Tokenizer, loadTokenizer } from './tokenizer/tokenizer.ts';
