"""The objective in other trainers: `plugins.verl`, `plugins.trl`.

They hand tensors to the functions that the embedded trainer uses; of evenflow they import
`objectives`, and what stands on the floor, alone.
"""

HEAD = "evenflow_head"
"""What the names of the head's weights begin with in a checkpoint of another trainer."""
