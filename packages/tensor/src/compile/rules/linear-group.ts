import { elementCount } from '../../graph/dtype.ts';
import type { GraphNode } from '../../graph/graph.ts';
import { fusedLinearNode, linearPlanOf } from '../../ops/linear/fused-linear.ts';
import type { LinearPlan } from '../../ops/linear/lower-linear.ts';
import type { FusionRule } from '../fuse.ts';

/** Storage buffers of a kernel besides the biases: x, codes, scales, the gain or sums of squares, and y. */
const otherBindings = 5;
const portableBindings = 8;

/** Whether two matrices read their input through the same norm, or both through none. */
export function sameNorm(a: LinearPlan, b: LinearPlan): boolean {
  if (!a.norm || !b.norm) return a.norm === b.norm;
  return a.norm.gain === b.norm.gain && a.norm.epsilon === b.norm.epsilon && a.norm.offset === b.norm.offset;
}

function groupable(plan: LinearPlan | undefined): plan is LinearPlan {
  return plan !== undefined && plan.weights.length === 1 && plan.gate === undefined && !plan.residual;
}

interface Group {
  readonly place: GraphNode;
  readonly members: { readonly node: GraphNode; readonly plan: LinearPlan }[];
}

/** Whether one more matrix can be read together with a group. */
function fits({ members }: Group, plan: LinearPlan): boolean {
  const first = members[0]!.plan;
  const [weight, other] = [first.weights[0]!, plan.weights[0]!];
  const biases = [...members.map((member) => member.plan), plan].filter(({ biases: [bias] }) => bias).length;
  return (
    first.x === plan.x &&
    sameNorm(first, plan) &&
    weight.format === other.format &&
    weight.width === other.width &&
    members.every((member) => member.plan.weights[0] !== other) &&
    otherBindings + biases <= portableBindings
  );
}

/** Matrices that read the same input, such as q, k and v, in one dispatch, their rows next to each other. */
export const linearGroup: FusionRule = {
  name: 'linear-group',
  apply(nodes, { weights }) {
    const groups: Group[] = [];
    for (const node of nodes) {
      const plan = linearPlanOf(node);
      if (!groupable(plan)) continue;
      const group = groups.find((candidate) => fits(candidate, plan));
      if (group) group.members.push({ node, plan });
      else groups.push({ place: node, members: [{ node, plan }] });
    }
    const replacements = new Map<GraphNode, GraphNode | undefined>();
    for (const { place, members } of groups) {
      const plans = members.map(({ plan }) => plan);
      const outputBytes = plans.reduce((sum, plan) => sum + elementCount(plan.outputs[0]!.shape) * 4, 0);
      if (members.length < 2 || outputBytes > weights.device.limits.maxStorageBufferBindingSize / 2) continue;
      if (!weights.group(plans.map((plan) => plan.weights[0]!))) continue;
      const merged: LinearPlan = {
        ...plans[0]!,
        weights: plans.flatMap((plan) => plan.weights),
        biases: plans.flatMap((plan) => plan.biases),
        outputs: plans.flatMap((plan) => plan.outputs),
      };
      for (const { node } of members) replacements.set(node, undefined);
      replacements.set(place, fusedLinearNode(merged, place));
    }
    return nodes.flatMap((node) => (replacements.has(node) ? (replacements.get(node) ?? []) : node));
  },
};
