import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

/** The repository's folder. */
export const root = dirname(dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url))))));

/** The parts of a package.json that the checks read. */
export interface Manifest {
  readonly name: string;
  readonly private?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly exports?: Readonly<Record<string, unknown>>;
}

/** One import, export-from or dynamic import with a literal specifier. */
export interface Import {
  readonly specifier: string;
  /** Names taken from it; `*` for a namespace, a default or a dynamic import. */
  readonly names: readonly string[];
  readonly typeOnly: boolean;
}

/** A source file of a package; `path` is relative to the repository, with forward slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
  readonly imports: readonly Import[];
}

/** A package or an app of the workspace; `folder` is relative to the repository. */
export interface WorkspacePackage {
  readonly folder: string;
  readonly manifest: Manifest;
  readonly files: readonly SourceFile[];
}

/** Reads every package and app with all its TypeScript files. */
export function readWorkspace(): WorkspacePackage[] {
  return ['packages', 'apps'].flatMap((group) =>
    readdirSync(join(root, group))
      .filter((name) => existsSync(join(root, group, name, 'package.json')))
      .map((name) => {
        const folder = `${group}/${name}`;
        const manifest = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as Manifest;
        return { folder, manifest, files: [...sourceFiles(join(root, folder))] };
      }),
  );
}

function* sourceFiles(folder: string): Generator<SourceFile> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name === 'node_modules' || entry.name === 'dist' || entry.name.startsWith('.')) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* sourceFiles(path);
    else if (/\.(ts|tsx|mjs)$/.test(entry.name)) {
      const text = readFileSync(path, 'utf8');
      yield { path: relative(root, path).split(sep).join('/'), text, imports: importsOf(path, text) };
    }
  }
}

/** Every module that a file's text names, type imports included. */
export function importsOf(path: string, text: string): Import[] {
  const found: Import[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      found.push({ specifier: node.moduleSpecifier.text, ...clause(node.importClause) });
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier && ts.isStringLiteral(node.moduleSpecifier)) {
      const named = node.exportClause && ts.isNamedExports(node.exportClause) ? node.exportClause.elements : undefined;
      found.push({
        specifier: node.moduleSpecifier.text,
        names: named?.map(importedName) ?? ['*'],
        typeOnly: node.isTypeOnly || everyTyped(named),
      });
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [first] = node.arguments;
      if (first && ts.isStringLiteralLike(first)) found.push({ specifier: first.text, names: ['*'], typeOnly: false });
    } else if (
      ts.isImportTypeNode(node) &&
      ts.isLiteralTypeNode(node.argument) &&
      ts.isStringLiteral(node.argument.literal)
    ) {
      found.push({ specifier: node.argument.literal.text, names: ['*'], typeOnly: true });
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.Latest, false));
  return found;
}

function clause(importClause: ts.ImportClause | undefined): Pick<Import, 'names' | 'typeOnly'> {
  if (importClause === undefined) return { names: [], typeOnly: false };
  const bindings = importClause.namedBindings;
  const named = bindings && ts.isNamedImports(bindings) ? bindings.elements : undefined;
  const typeOnly = importClause.phaseModifier === ts.SyntaxKind.TypeKeyword;
  const others =
    importClause.name !== undefined || (bindings !== undefined && ts.isNamespaceImport(bindings)) ? ['*'] : [];
  return {
    names: [...others, ...(named?.filter((element) => !element.isTypeOnly).map(importedName) ?? [])],
    typeOnly: typeOnly || (others.length === 0 && everyTyped(named)),
  };
}

function everyTyped(elements: ts.NodeArray<ts.ImportSpecifier | ts.ExportSpecifier> | undefined): boolean {
  return elements !== undefined && elements.length > 0 && elements.every((element) => element.isTypeOnly);
}

function importedName(element: ts.ImportSpecifier | ts.ExportSpecifier): string {
  return (element.propertyName ?? element.name).text;
}
