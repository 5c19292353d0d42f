"""Data sources, one file each. Importing this package registers them."""

from cabench.data.sources import cifar10 as cifar10
from cabench.data.sources import coco as coco
from cabench.data.sources import digits as digits
from cabench.data.sources import emoji as emoji
from cabench.data.sources import fashion16 as fashion16
from cabench.data.sources import fashion16_edges as fashion16_edges
from cabench.data.sources import fashion16_measured as fashion16_measured
from cabench.data.sources import fashion_mnist as fashion_mnist
from cabench.data.sources import folder as folder
from cabench.data.sources import huggingface as huggingface
from cabench.data.sources import imagenet64 as imagenet64
from cabench.data.sources import latents as latents
