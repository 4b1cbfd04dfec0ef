/** One declaration of a config, and everything that is made from it. */

export { ConfigError } from '../errors.ts'
export { validateDeclaration } from './declaration.ts'
export * from './declare.ts'
export type * from './fields.ts'
export { defineFields } from './fields.ts'
export { type JsonSchema, type JsonSchemaOptions, toJsonSchema } from './json-schema.ts'
export { KONG_PRIVATE_KEYS, type KongAttributes, type KongField, toKongSchema } from './kong-schema.ts'
export { type ParseOptions, parseConfig, parsePolicyConfig } from './parse.ts'
export { codesTable, fieldsTable, topFieldsTable } from './reference.ts'
